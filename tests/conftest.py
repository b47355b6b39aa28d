"""Settings of the whole test suite."""

from hypothesis import settings

# No deadlines: a busy machine is no failure. The quick profile draws the same examples every time.
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("full", deadline=None, max_examples=2000)
settings.load_profile("quick")
