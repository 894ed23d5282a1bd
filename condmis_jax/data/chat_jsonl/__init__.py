"""Chat JSONL as a TensorFlow dataset; the folder's name is the dataset's."""
