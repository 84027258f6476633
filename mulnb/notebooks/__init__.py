"""The numbered notebooks: run without a browser, opened in JupyterLab, made into a site."""
