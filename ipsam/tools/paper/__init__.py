"""The paper's tables: ``printed`` holds its numbers, ``tables`` puts ours beside them, ``ledger`` counts parameters."""
