import sys

from tools import slides

slides.main(sys.argv[1:])
