"""The paper's tables: ``printed`` has its numbers, ``tables`` puts ours beside them, ``ledger`` and ``costs`` count."""
