"""Code tables and conversions: what turns one organization's words into another's."""
