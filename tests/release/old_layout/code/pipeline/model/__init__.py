"""The U-Net++, its encoders, and prediction on radiographs of any size."""
