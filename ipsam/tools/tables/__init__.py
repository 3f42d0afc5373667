"""Tables by layouts, the paper's among them: ``fill`` puts scores into them; ``ledger`` and ``costs`` count."""
