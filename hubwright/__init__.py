"""hubwright: declarative recipes in, versioned Hugging Face Hub repositories out."""

__version__ = "0.1.0"
