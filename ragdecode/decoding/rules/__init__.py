"""Rules: fold what the views predict into one next-token distribution. One rule a file."""
