"""`python -m engine.cli`: the command line where the script `interlock` is not on the path."""

from engine.cli import main

main()
