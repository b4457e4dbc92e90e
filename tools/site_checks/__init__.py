"""The built pages, opened in headless Chromium and looked at: `make browse`."""
