"""The chapters as other machines run them: Colab, Binder, other processors."""
