"""Balance what is shown: aim, paint, count, aim again; and the closing check on unseen seeds and wordings."""
