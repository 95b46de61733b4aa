"""The worklist by pages and REST: filters, saved views, who reads what, changes of many studies."""
