"""The language server (`tinyconv lsp`), for editors that speak the Language Server Protocol.

`server` is the protocol, over pygls; everything else works on plain texts and offsets and needs no pygls:

    text.py         positions of the protocol to offsets and back
    outline.py      what a text defines and where one stands in it, half-typed texts included
    analysis.py     diagnostics, graph and values of a text, with its includes
    project.py      the open texts, their analyses, and files they include
    hover.py, completion.py, navigation.py      the answers
"""
