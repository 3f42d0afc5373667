"""Tables by layouts, the paper's among them: ``tables`` fills them with scores; ``ledger`` and ``costs`` count."""
