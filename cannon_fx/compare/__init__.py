"""Every method through the same harness: jobs, rows, what they come to, and the page that shows it."""
