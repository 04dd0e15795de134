"""Names of things, people and manners that most image models paint: held still by a weight edit beside what is named.

Four lists that others published for other ends, whole but for repeats. None was chosen by what the embedded model
paints; it happens to hold 40 of its 48 concepts, so pages tell those that are listed from those that are not.
"""

from __future__ import annotations

PHOTOGRAPHED = """
tortoise, container, magpie, sea turtle, football, ambulance, ladder, toothbrush, syringe, sink, toy, organ,
cassette deck, apple, human eye, cosmetics, paddle, snowman, beer, chopsticks, human beard, bird, parking meter,
traffic light, croissant, cucumber, radish, towel, doll, skull, washing machine, glove, tick, belt, sunglasses,
banjo, cart, ball, backpack, bicycle, home appliance, centipede, boat, surfboard, boot, headphones, hot dog, shorts,
fast food, bus, boy, screwdriver, bicycle wheel, barge, laptop, miniskirt, drill, dress, bear, waffle, pancake,
brown bear, woodpecker, blue jay, pretzel, bagel, tower, teapot, person, bow and arrow, swimwear, beehive,
brassiere, bee, bat, starfish, popcorn, burrito, chainsaw, balloon, wrench, tent, vehicle registration plate,
lantern, toaster, flashlight, billboard, tiara, limousine, necklace, carnivore, scissors, stairs, computer keyboard,
printer, traffic sign, chair, shirt, poster, cheese, sock, fire hydrant, land vehicle, earrings, tie, watercraft,
cabinetry, suitcase, muffin, bidet, snack, snowmobile, clock, medical equipment, cattle, cello, jet ski, camel,
coat, suit, desk, cat, bronze sculpture, juice, gondola, beetle, cannon, computer mouse, cookie, office building,
fountain, coin, calculator, cocktail, computer monitor, box, stapler, christmas tree, cowboy hat, hiking equipment,
studio couch, drum, dessert, wine rack, drink, zucchini, ladle, human mouth, dairy, dice, oven, dinosaur, ratchet,
couch, cricket ball, winter melon, spatula, whiteboard, pencil sharpener, door, hat, shower, eraser, fedora,
guacamole, dagger, scarf, dolphin, sombrero, tin can, mug, tap, harbor seal, stretcher, can opener, goggles, human
body, roller skates, coffee cup, cutting board, blender, plumbing fixture, stop sign, office supplies, volleyball,
vase, slow cooker, wardrobe, coffee, whisk, paper towel, personal care, food, sun hat, tree house, flying disc,
skirt, gas stove, salt and pepper shakers, mechanical fan, face powder, fax, fruit, french fries, nightstand,
barrel, kite, tart, treadmill, fox, flag, horn, window blind, human foot, golf cart, jacket, egg, street light,
guitar, pillow, human leg, isopod, grape, human ear, power plugs and sockets, panda, giraffe, woman, door handle,
rhinoceros, bathtub, goldfish, houseplant, goat, baseball bat, baseball glove, mixing bowl, marine invertebrates,
kitchen utensil, light switch, house, horse, stationary bicycle, hammer, ceiling fan, sofa bed, adhesive tape, harp,
sandal, bicycle helmet, saucer, harpsichord, human hair, heater, harmonica, hamster, curtain, bed, kettle,
fireplace, scale, drinking straw, insect, hair dryer, kitchenware, indoor rower, invertebrate, food processor,
bookcase, refrigerator, wood-burning stove, punching bag, common fig, cocktail shaker, jaguar, golf ball, fashion
accessory, alarm clock, filing cabinet, artichoke, table, tableware, kangaroo, koala, knife, bottle, bottle opener,
lynx, lavender, lighthouse, dumbbell, human head, bowl, humidifier, porch, lizard, billiard table, mammal, mouse,
motorcycle, musical instrument, swim cap, frying pan, snowplow, bathroom cabinet, missile, bust, man, waffle iron,
milk, ring binder, plate, mobile phone, baked goods, mushroom, crutch, pitcher, mirror, lifejacket, table tennis
racket, pencil case, musical keyboard, scoreboard, briefcase, kitchen knife, nail, tennis ball, plastic bag, oboe,
chest of drawers, ostrich, piano, girl, plant, potato, hair spray, sports equipment, pasta, penguin, pumpkin, pear,
infant bed, polar bear, mixer, cupboard, jacuzzi, pizza, digital clock, pig, reptile, rifle, lipstick, skateboard,
raven, high heels, red panda, rose, rabbit, sculpture, saxophone, shotgun, seafood, submarine sandwich, snowboard,
sword, picture frame, sushi, loveseat, ski, squirrel, tripod, stethoscope, submarine, scorpion, segway, training
bench, snake, coffee table, skyscraper, sheep, television, trombone, tea, tank, taco, telephone, torch, tiger,
strawberry, trumpet, tree, tomato, train, tool, picnic basket, cooking spray, trousers, bowling equipment, football
helmet, truck, measuring cup, coffeemaker, violin, vehicle, handbag, paper cutter, wine, weapon, wheel, worm, wok,
whale, zebra, auto part, jug, pizza cutter, cream, monkey, lion, bread, platter, chicken, eagle, helicopter, owl,
duck, turtle, hippopotamus, crocodile, toilet, toilet paper, squid, clothing, footwear, lemon, spider, deer, frog,
banana, rocket, wine glass, countertop, tablet computer, waste container, swimming pool, dog, book, elephant, shark,
candle, leopard, axe, hand dryer, soap dispenser, porcupine, flower, canary, cheetah, palm tree, hamburger, maple,
building, fish, lobster, asparagus, furniture, hedgehog, airplane, spoon, otter, bull, oyster, horizontal bar,
convenience store, bomb, bench, ice cream, caterpillar, butterfly, parachute, orange, antelope, beaker, moths and
butterflies, window, closet, castle, jellyfish, goose, mule, swan, peach, coconut, seat belt, raccoon, chisel, fork,
lamp, camera, squash, racket, human face, human arm, vegetable, diaper, unicycle, falcon, chime, snail, shellfish,
cabbage, carrot, mango, jeans, flowerpot, pineapple, drawer, stool, envelope, cake, dragonfly, sunflower, microwave
oven, honeycomb, marine mammal, sea lion, ladybug, shelf, watch, candy, salad, parrot, handgun, sparrow, van,
grinder, spice rack, light bulb, corded phone, sports uniform, tennis racket, wall clock, serving tray, kitchen &
dining room table, dog bed, cake stand, cat furniture, bathroom accessory, facial tissue holder, pressure cooker,
kitchen appliance, tire, ruler, luggage and bags, microphone, broccoli, umbrella, pastry, grapefruit, band-aid,
animal, bell pepper, turkey, lily, pomegranate, doughnut, glasses, human nose, pen, ant, car, aircraft, human hand,
skunk, teddy bear, watermelon, cantaloupe, dishwasher, flute, balance beam, sandwich, shrimp, sewing machine,
binoculars, rays and skates, ipod, accordion, willow, crab, crown, seahorse, perfume, alpaca, taxi, canoe, remote
control, wheelchair, rugby ball, armadillo, maracas, helmet
"""
"""The 601 categories with boxes of Open Images V4 (Kuznetsova et al., IJCV 2020)."""
DRAWN = """
aircraft carrier, angel, animal migration, anvil, arm, bandage, barn, baseball, basket, basketball, beach, beard,
birthday cake, blackberry, blueberry, boomerang, bottlecap, bowtie, bracelet, brain, bridge, broom, bucket,
bulldozer, bush, cactus, calendar, camouflage, campfire, cell phone, chandelier, church, circle, clarinet, cloud,
compass, computer, cooler, cow, crayon, cruise ship, cup, diamond, diving board, donut, dragon, dresser, drums, ear,
elbow, eye, eyeglasses, face, fan, feather, fence, finger, firetruck, flamingo, flip flops, floor lamp, flying
saucer, foot, garden, garden hose, goatee, golf club, grapes, grass, hand, hexagon, hockey puck, hockey stick,
hospital, hot air balloon, hot tub, hourglass, house plant, hurricane, jail, key, keyboard, knee, leaf, leg,
lighter, lightning, line, lollipop, mailbox, map, marker, matches, megaphone, mermaid, microwave, moon, mosquito,
motorbike, mountain, moustache, mouth, nose, ocean, octagon, octopus, onion, paintbrush, paint can, pants, paper
clip, passport, peanut, peas, pencil, pickup truck, pliers, police car, pond, pool, popsicle, postcard, power
outlet, purse, radio, rain, rainbow, rake, river, roller coaster, rollerskates, sailboat, saw, school bus, see saw,
shoe, shovel, sleeping bag, smiley face, snorkel, snowflake, soccer ball, speedboat, spreadsheet, square, squiggle,
star, steak, stereo, stitches, stove, streetlight, string bean, sun, sweater, swing set, teddy-bear, tennis racquet,
the eiffel tower, the great wall of china, the mona lisa, toe, tooth, toothpaste, tornado, tractor, triangle,
t-shirt, underwear, waterslide, windmill, wine bottle, wristwatch, yoga, zigzag
"""
"""Of the 345 categories of Quick, Draw! (Ha and Eck, ICLR 2018) those that are not above."""
PEOPLE = """
driver, supervisor, janitor, cook, mover, laborer, construction worker, chief, developer, carpenter, manager,
lawyer, farmer, salesperson, physician, guard, analyst, mechanic, sheriff, chief executive, attendant, cashier,
teacher, nurse, assistant, secretary, auditor, cleaner, receptionist, clerk, counselor, designer, hairdresser,
writer, housekeeper, baker, accountant, editor, librarian, tailor
"""
"""The 40 occupations of WinoBias (Zhao et al., NAACL 2018)."""
ART = """
abstract expressionism, action painting, analytical cubism, art nouveau, baroque, color field painting, contemporary
realism, cubism, early renaissance, expressionism, fauvism, high renaissance, impressionism, mannerism, minimalism,
naive art, new realism, northern renaissance, pointillism, pop art, post-impressionism, realism, rococo,
romanticism, symbolism, synthetic cubism, ukiyo-e, Albrecht Dürer, Boris Kustodiev, Camille Pissarro, Childe Hassam,
Claude Monet, Edgar Degas, Eugène Boudin, Gustave Doré, Ilya Repin, Ivan Aivazovsky, Ivan Shishkin, John Singer
Sargent, Marc Chagall, Martiros Saryan, Nicholas Roerich, Pablo Picasso, Paul Cézanne, Pierre-Auguste Renoir, Pyotr
Konchalovsky, Raphael Kirchner, Rembrandt, Salvador Dalí, Vincent van Gogh
"""
"""Styles and artists that WikiArt's pictures are sorted by (Tan et al., TIP 2019)."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.replace("\n", " ").split(",") if name.strip())


COMMON = tuple(dict.fromkeys(name for text in (PHOTOGRAPHED, DRAWN, PEOPLE, ART) for name in _names(text)))
"""All of them, each once."""
ARTFUL = _names(ART)
"""Those that name art."""
THINGS = tuple(dict.fromkeys((*_names(PHOTOGRAPHED), *_names(DRAWN))))
"""Those that name things."""
