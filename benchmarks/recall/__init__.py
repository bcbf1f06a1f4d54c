"""Recall on data of many kinds: what is asked for, what is got."""
