"""What refreshes the networks: data, training, evaluation; produces weights that models loads."""
