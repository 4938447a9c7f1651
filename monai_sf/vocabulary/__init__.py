"""Words and rules that all parts share: methods, ids of patients and cases, and what logits are."""
