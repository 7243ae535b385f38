"""Online charging for network functions: 3GPP TS 32.291, Nchf_ConvergedCharging."""
