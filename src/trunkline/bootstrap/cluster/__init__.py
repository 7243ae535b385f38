"""The servers of the cluster profile on one machine, for tests and demonstrations; an operator runs their own."""
