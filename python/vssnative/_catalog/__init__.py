"""What a file records of its embeddings: own tables, records, the user's tables, triggers, texts, models."""
