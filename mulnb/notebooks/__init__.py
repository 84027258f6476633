"""The numbered notebooks, run without a browser."""
