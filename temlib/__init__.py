"""Low-dose TEM frames of nanoparticles through a U-Net: simulate, read, train, measure."""
