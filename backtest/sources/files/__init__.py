"""Files as vendors, brokers and scripts write them, read into tables of named columns."""
