"""The numbered notebooks: run without a browser, or opened in JupyterLab."""
