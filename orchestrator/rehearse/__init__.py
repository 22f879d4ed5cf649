"""Rehearsal: the user's own spec, brought up elsewhere on this host, and a real conversation with each of its services.

A protocol joins with one module that fulfils `conversation.Conversation`, named in `rehearsal.CONVERSATIONS`.
"""
