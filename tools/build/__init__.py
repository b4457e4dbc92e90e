"""From notebooks to a site: which chapters are executed again, and what each page gets."""
