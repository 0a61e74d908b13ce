"""What a radiograph or mask is once it has been read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
"""One channel, uint8 (H, W): 0 black to 255 white; of a mask 0 or 1."""
