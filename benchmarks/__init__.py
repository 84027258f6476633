"""What is timed, how, and beside what: `mulnb bench` in a checkout."""
