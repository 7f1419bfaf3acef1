"""`python -m sslbook`, and `torchrun -m sslbook` for several processes."""

from sslbook.cli import main

if __name__ == "__main__":
    main()
