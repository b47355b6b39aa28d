/* Tasks of a team: each is run once, whoever is slow; a thread takes its own stretch from the front. */
#include "../ranges.h"
#include "check.h"

enum { MOST = 600 };

/* Thread `slow` rests in its first task until all others are done (-1: nobody does). */
static void check_tasks(int team, int tasks, int slow) {
    char what[64];
    int times[MOST] = {0}, done = 0, by[MOST], order[MOST], rest = -1;
    snprintf(what, sizeof what, "%d tasks, %d threads, slow %d", tasks, team, slow);
    TC_TASKS(team, tasks, t, {
        __atomic_fetch_add(&times[t], 1, __ATOMIC_RELAXED);
        by[t] = tc_thread_index();
        if (by[t] == slow && rest < 0) {
            rest = (int)t;
            while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < tasks - 1)
                usleep(100);
        }
        order[t] = __atomic_fetch_add(&done, 1, __ATOMIC_ACQ_REL);
    });
    int once = 1, held = 0;
    for (int t = 0; t < tasks; t++)
        once &= times[t] == 1;
    check_true(once, "%s: each once", what);
    for (int i = 0; i < team; i++) {
        int64_t low, high, last = -1;
        tc_range(tasks, 1, team, i, &low, &high);
        for (int64_t t = low; t < high; t++)
            if (by[t] == i) {
                check_true(order[t] > last, "%s: %d before its neighbour", what, (int)t);
                last = order[t];
            } else
                held++;
    }
    if (slow < 0 && team == 1)
        check_true(!held, "%s: in order", what);
    check_true(rest < 0 || order[rest] == tasks - 1, "%s: helped", what);
}

int main(void) {
    check_begin("test_ranges");
    for (int tasks = 0; tasks < MOST; tasks += 1 + tasks / 7)
        for (int team = 1; team <= 5; team++) {
            check_tasks(team, tasks, -1);
            if (tc_has_openmp())
                check_tasks(team, tasks, team > 1 ? tasks % team : -1);
        }
    return check_end();
}
