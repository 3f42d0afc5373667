"""The paper's tables: as ``printed``, and filled by ``all_tables`` with what was run; ``ledger`` counts parameters."""
