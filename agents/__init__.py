"""The minds. They decide from a case alone, and know no Nautilus, no clock and no I/O."""
