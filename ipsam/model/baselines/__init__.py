"""The paper's comparison systems that share this framework (Tables 1 and 4)."""
