"""How the embedded model is made: a miniature Stable Diffusion family, trained on drawn shapes. See README.md here."""
