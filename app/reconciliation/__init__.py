"""Two ledgers that agree: what we settled, against what LiteLLM says and the provider bills.

`compare` has the rules and no I/O, `sides` reads both sides, `later_truth` says what an estimate
is corrected to, `bill` reads a provider's bill.
"""
