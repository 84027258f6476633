"""The same numbers, sooner: recorded GPU steps, stacked networks, the attack's classifier. Nothing here imports from mulnb."""
