"""The papers' experiments, run on whatever data is there: `einthoven reproduce exchangeai`, `ecgfm-peft`, `heartbeit`.

Each writes one table (Markdown, CSV, JSON) with the paper's figure beside ours, and one picture, and says what was run on what.
A table is not a verdict on a paper unless data, size and weights are the paper's; `Sheet.notes` says where they are not.
"""
