"""The compressor and the texts that tests of chats share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
