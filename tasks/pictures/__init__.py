"""Pictures from files that nobody has vetted: reading them safely and screening a set of them."""
