"""The same numbers, sooner: recorded GPU steps, stacked networks, the attack's classifier. Imports nothing else of mulnb."""
