"""The intermediate representation: layers > tiers > policies > rules, without a word of any dialect."""
