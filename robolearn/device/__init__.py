"""Learning where the simulation is: collecting on a device, CUDA graphs, and choosing a device."""
