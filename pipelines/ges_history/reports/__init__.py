"""Reports: SQL views, and what people see of them."""
