"""What is handed on: the book on paper, and the pictures of its front pages."""
