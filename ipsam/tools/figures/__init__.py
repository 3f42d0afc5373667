"""The paper's Figures 3 and 4, for any run and any of its images."""
