"""Reading and writing files: atomic, of bounded size, never running what they hold."""
