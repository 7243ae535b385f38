"""TM Forum's interfaces, for the operator's systems that already speak them: TMF654 and TMF635, both v4."""
